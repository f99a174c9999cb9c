"""What ``POST /v1/controlnets/preprocess`` takes."""

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from api.schemas.foreign_names import PREPROCESS_MEANT
from api.schemas.job_request import IMAGE_DESCRIPTION, ImageText
from api.schemas.request_fields import RequestFields
from shared.catalog.preprocessors import check_name, fill_in
from shared.jobs.options import PreprocessorOptions
from shared.message_base import ShortText, SidePx


class PreprocessRequest(RequestFields):
    """An image, and the preprocessor that makes a control map of it."""

    meant = PREPROCESS_MEANT

    image: ImageText = Field(description=IMAGE_DESCRIPTION)
    preprocessor: ShortText = Field(description="see /v1/controlnets; `none` resizes only")
    preprocessor_options: PreprocessorOptions = Field({}, validate_default=True)
    width: SidePx | None = Field(None, description="of the control map; unset: the image's own")
    height: SidePx | None = Field(None, description="of the control map; unset: the image's own")

    @field_validator("preprocessor")
    @classmethod
    def _is_available(cls, name: str) -> str:
        return check_name(name)

    @field_validator("preprocessor_options")
    @classmethod
    def _fit_the_preprocessor(cls, options: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        return fill_in(info.data["preprocessor"], options) if "preprocessor" in info.data else options
