"""Findings of a data set's check-up; workers write them, the service shows them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_LISTED = 500  # findings of a kind


class SeenImage(BaseModel):
    """An image as it was when it was checked."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    id: int | None = Field(
        description="Number of the image, as in GET /datasets/{name}/images; null in MNIST's four files."
    )
    label: str = Field(alias="class", description="Class of the image.")
    part: Literal["train", "val", "test"] = Field(description="Part: train, val or test.")
    file: str = Field(description="Name of the file as sent; in MNIST's four files, the file and the place in it.")


class NearDuplicate(BaseModel):
    """Two images that show the same picture."""

    image: SeenImage = Field(description="The later image: it could be removed.")
    like: SeenImage = Field(description="The earlier image; training before validation before test.")
    score: float = Field(description="Similarity of the two, at most 1.")
    leak: bool = Field(description="Whether they are in different parts, so that the test is too easy for one of them.")


class WrongLabel(BaseModel):
    """An image whose class is probably wrong."""

    image: SeenImage = Field(description="The image.")
    suggested: str = Field(description="Class that the other images suggest.")
    score: float = Field(description="By how much that class leads, 0 to 1.")


class UnusualImage(BaseModel):
    """An image that is like no other of its class."""

    image: SeenImage = Field(description="The image.")
    score: float = Field(description="Distance to the most similar image of its class, 0 to 2.")


class RareClass(BaseModel):
    """A class of which there are few training images."""

    label: str = Field(alias="class", description="Name of the class.")
    images: int = Field(description="Number of its training images.")
    largest: int = Field(description="Number of training images of the largest class.")

    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)


class Findings(BaseModel):
    """What a check-up found, each kind by falling score."""

    near_duplicates: list[NearDuplicate] = Field(description=f"Pairs that show the same picture, at most {MAX_LISTED}.")
    near_duplicate_count: int = Field(description="Number of all such pairs.")
    leak_count: int = Field(description="Number of those pairs that are in different parts.")
    wrong_labels: list[WrongLabel] = Field(description=f"Images of probably another class, at most {MAX_LISTED}.")
    wrong_label_count: int = Field(description="Number of all such images.")
    unusual_images: list[UnusualImage] = Field(
        description=f"Images that are like no other of their class, at most {MAX_LISTED}."
    )
    unusual_image_count: int = Field(description="Number of all such images.")
    rare_classes: list[RareClass] = Field(
        description="Classes with at most a fifth of the largest one's training images."
    )
