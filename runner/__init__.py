"""What only the local runner needs: how it deals with connections."""
