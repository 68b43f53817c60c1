"""POST /audio on AWS Lambda."""

from common.aws_lambda import LambdaHandler
from common.http.app import create_app
from common.items import Direct
from common.settings import get_settings
from functions.audio.routes import router
from functions.audio.schemas import AudioRequest

# More of them would only share the CPU while no cloud speaks, and hold their recordings in memory.
AT_A_TIME = 4

app = create_app(router, title="The Factory: audio")
direct = Direct(
    "/audio",
    AudioRequest,
    lambda: AT_A_TIME,
    told={"x-audio-engine": "engine", "x-audio-voice": "voice"},
    bucket=lambda: get_settings().audio.bucket,
    folder="audio",
    too_large="set FACTORY_AUDIO__BUCKET, and recordings go there",
)
handler = LambdaHandler(app, direct)
