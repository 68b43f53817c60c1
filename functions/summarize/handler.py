"""POST /summarize on AWS Lambda."""

from common.aws_lambda import LambdaHandler
from common.http.app import create_app
from functions.summarize.routes import router

app = create_app(router, title="The Factory: summarize")
handler = LambdaHandler(app)
