"""The image that an ``img2img`` call starts from, and its mask, as a job takes them."""

import base64
from typing import NamedTuple, Self

from PIL import Image

from api.compat.a1111.generation.fields import Img2ImgFields
from api.compat.a1111.generation.images.masks import MaskedImage, MaskOptions, apply_mask, mask_of
from api.compat.a1111.generation.images.resizing import ResizeMode, Size, resize
from api.services import Services
from api.submission.images.decode import decode_rgba, encode_png
from shared.errors import InvalidRequest, NotFound

#: What is under a transparent image: A1111's option ``img2img_background_color``.
_BACKGROUND = (255, 255, 255)
#: ``inpainting_fill``: what is masked begins with the colours around it, or with its own.
_FILL, _ORIGINAL = 0, 1


class SizeLimits(NamedTuple):
    """Which sizes images may have, in pixels."""

    max_px: int  # width times height of the image that was sent
    max_side: int  # of the model's image
    multiple: int  # of sides that the call names
    image_multiple: int  # of those that are the image's

    @classmethod
    def of(cls, model: str, services: Services) -> Self:
        """Those of a model's images."""
        settings, families = services.settings, services.families
        own = families.size_multiple(model), families.image_multiple(model)
        return cls(settings.max_control_px, settings.max_side_px, *own)


class InitImage(NamedTuple):
    """An image and its mask, resized; ``masked`` says how the job's images become the call's."""

    image: Image.Image
    mask: Image.Image | None
    masked: MaskedImage | None

    @property
    def job_fields(self) -> dict[str, object]:
        """Fields of a job."""
        fields: dict[str, object] = {
            "image": base64_png(self.image),
            "width": self.image.width,
            "height": self.image.height,
        }
        return fields if self.mask is None else fields | {"mask_image": base64_png(self.mask)}


def read_init_image(fields: Img2ImgFields, limits: SizeLimits) -> InitImage:
    """Decode and resize; raises `NotFound` without an image, `InvalidRequest` for a field."""
    mode, options = _resize_mode(fields), _mask_options(fields)
    if not fields.init_images:
        raise NotFound("Init image not found")
    if len(fields.init_images) > 1:
        raise InvalidRequest(f"one image, not {len(fields.init_images)}", field="init_images")
    sent = decode_rgba(fields.init_images[0], max_px=limits.max_px, field="init_images.0")
    image = Image.new("RGB", sent.size, _BACKGROUND)
    image.paste(sent, mask=sent.getchannel("A"))
    size = _size(fields, image.size, limits)
    if not fields.mask:
        return InitImage(resize(image, size, mode), None, None)
    mask = mask_of(decode_rgba(fields.mask, max_px=limits.max_px, field="mask"))
    masked = apply_mask(image, mask, size, options)
    return InitImage(masked.image, masked.mask, masked)


def as_is(fields: Img2ImgFields) -> Img2ImgFields:
    """Fields with the same `MaskedImage`, for `restore`, without what only a job's own images need."""
    return fields.model_copy(update={"inpainting_fill": _ORIGINAL})


def base64_png(image: Image.Image) -> str:
    """An image as a request sends it."""
    return base64.b64encode(encode_png(image)).decode()


def _resize_mode(fields: Img2ImgFields) -> ResizeMode:
    try:
        return ResizeMode(fields.resize_mode)
    except ValueError:
        detail = f"resize_mode {fields.resize_mode} is not supported; 0, 1 and 2 are"
        raise InvalidRequest(detail, field="resize_mode") from None


def _mask_options(fields: Img2ImgFields) -> MaskOptions:
    if fields.mask and fields.inpainting_fill not in (_FILL, _ORIGINAL):
        detail = f"inpainting_fill {fields.inpainting_fill} (latent noise) is not supported; 0 and 1 are"
        raise InvalidRequest(detail, field="inpainting_fill")
    both = fields.mask_blur
    return MaskOptions(
        blur=(fields.mask_blur_x, fields.mask_blur_y) if both is None else (both, both),
        is_inverted=bool(fields.inpainting_mask_invert),
        fills=fields.inpainting_fill == _FILL,
        is_cropped=fields.inpaint_full_res,
        padding=fields.inpaint_full_res_padding,
        resize_mode=_resize_mode(fields),
    )


def _size(fields: Img2ImgFields, own: Size, limits: SizeLimits) -> Size:
    """Of the job; a side that is not asked for is the image's."""
    multiple, grid = limits.multiple, limits.image_multiple
    size = tuple(
        side // grid * grid or grid if wanted is None else wanted
        for wanted, side in zip((fields.width, fields.height), own, strict=True)
    )
    for name, side in zip(("width", "height"), size, strict=True):  # before anything is made so large
        if side < multiple or side % multiple or side > limits.max_side:
            detail = f"{name} is {side}: a multiple of {multiple}, at most {limits.max_side}"
            raise InvalidRequest(detail, field=name)
    return size[0], size[1]
