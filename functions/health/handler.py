"""GET and HEAD /health, GET /health/ready on AWS Lambda."""

from common.aws_lambda import LambdaHandler
from common.http.app import create_app
from functions.health.routes import router

app = create_app(router, title="The Factory: health")
handler = LambdaHandler(app)
