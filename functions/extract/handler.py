"""POST /extract on AWS Lambda."""

from common.aws_lambda import LambdaHandler
from common.http.app import create_app
from functions.extract.routes import router

app = create_app(router, title="The Factory: extract")
handler = LambdaHandler(app)
