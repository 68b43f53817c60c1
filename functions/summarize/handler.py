"""POST /summarize on AWS Lambda."""

from common.aws_lambda import LambdaHandler
from common.http.app import create_app
from common.items import Direct
from common.settings import get_settings
from functions.summarize.routes import router
from functions.summarize.schemas import SummarizeRequest

app = create_app(router, title="The Factory: summarize")
handler = LambdaHandler(app, Direct("/summarize", SummarizeRequest, lambda: get_settings().summarize.parallel))
