"""POST /audio on AWS Lambda."""

from common.aws_lambda import LambdaHandler
from common.http.app import create_app
from functions.audio.routes import router

app = create_app(router, title="The Factory: audio")
handler = LambdaHandler(app)
