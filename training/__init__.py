"""Scripts that train the small models shipped in models/embedded."""
