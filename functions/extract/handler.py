"""POST /extract on AWS Lambda."""

from common.aws_lambda import LambdaHandler
from common.http.app import create_app
from common.items import Direct
from functions.extract.routes import router
from functions.extract.schemas import ExtractRequest
from functions.extract.service import TEXTS_AT_A_TIME

app = create_app(router, title="The Factory: extract")
handler = LambdaHandler(app, Direct("/extract", ExtractRequest, lambda: TEXTS_AT_A_TIME))
