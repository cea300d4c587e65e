"""Settings, read once from the environment, then frozen and passed down."""

import os
import re
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.cpus import cpus
from core.scopes import GivenKey, parse_keys

ORIGIN = r"https?://[^/\s]+|\*"
PREFIX = "TUNESERVE_"
ROOT_PATH = r"^((/[A-Za-z0-9._~-]+)+/?)?$"
MAX_IMAGES = 4096  # upper bound of max_images_per_request
SECRETS = ("api_keys", "database_url")  # each may also stand in a file, which NAME_FILE names
MAX_REQUEUE_S = 15.0  # from the death of a worker until its job is requeued
YES = ("1", "true", "yes", "on")
HOST = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]"


class WrongSettings(Exception):
    """Invalid settings in the environment."""

    def __init__(self, reasons: list[str]) -> None:
        """Take one line for each invalid variable.

        Each line has the variable's name and a correction.
        """
        super().__init__("\n".join(reasons))
        self.reasons = reasons


class Settings(BaseSettings):
    """Settings of service and worker; each field is also an environment variable.

    The variable is ``TUNESERVE_`` and the field's name in capitals.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,  # an error would show all fields, secrets included
    )

    # paths and sources
    data_dir: Path = Path("tuneserve-data")  # database, checkpoints, models, logs
    # default: SQLite in data_dir; never on a network file system. Not shown, since it may hold a password
    database_url: str | None = Field(None, repr=False)
    database_url_file: Path | None = None  # a file that holds it
    # holds <name>/ with the files of a data set that was not uploaded, only read; default: data_dir/datasets
    datasets_dir: Path | None = None
    weights_dir: Path | None = None  # cache of pre-trained weights; default: data_dir/weights
    weights_file: Path | None = None  # state dict to use for "imagenet"
    weights_mirror: str | None = None  # URL of a folder with torchvision's weight files
    datasets_mirror: str | None = None  # URL of a folder with <name>/<file> for the built-in data sets
    # download neither weights nor data sets; Hugging Face's own variable says the same
    offline: bool = Field(default_factory=lambda: os.environ.get("HF_HUB_OFFLINE", "").lower() in YES)
    download_timeout_s: float = Field(30.0, gt=0)  # a host that sends nothing for this long is unreachable

    log_format: Literal["text", "json"] = "text"  # of service and worker; the log of a job is always text

    # the service
    host: str = "127.0.0.1"
    root_path: str = Field(
        "", pattern=ROOT_PATH
    )  # prefix of the path behind a proxy, like /tune; or X-Forwarded-Prefix
    port: int = Field(8000, ge=0, le=65535)
    api_keys: SecretStr = SecretStr("")  # name:scope+scope:key, separated by commas or spaces; POST /keys adds more
    api_keys_file: Path | None = None  # a file that holds them
    require_keys: bool = False  # require an API key on loopback too
    allow_without_keys: bool = False  # listen on other addresses than loopback without API keys
    rate_limit_per_s: float | None = Field(None, gt=0)  # requests per second of each key or address, per process
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()  # origins whose web pages may call the service; * is any
    # accepted values of the Host header; see service.security.allowed_hosts
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    max_connections: int = Field(512, gt=0)  # per process; more are refused with 503
    max_header_bytes: int = Field(32 * 2**10, ge=1024)  # request line and headers
    header_timeout_s: float = Field(10.0, gt=0)  # until the whole request line and headers have arrived
    body_timeout_s: float = Field(30.0, gt=0)  # a body of which nothing arrives for this long is given up
    min_body_bytes_per_s: float = Field(500.0, ge=0)  # averaged over a minute of a body; a slower one is given up
    min_free_bytes: int = Field(256 * 2**20, ge=0)  # with less free on data_dir's disk, new jobs and data are refused
    max_body_bytes: int = Field(32 * 2**20, gt=0)
    in_flight_bytes: int = Field(512 * 2**20, gt=0)  # per process, all request bodies in memory together
    max_json_bytes: int = Field(4 * 2**20, gt=0)  # JSON body with images; files and binary tensors may be larger
    max_image_pixels: int = Field(50_000_000, gt=0)  # checked before decoding: a small file can hold a huge image
    image_processes: int = Field(2, gt=0)  # per service process; they decode images that are not small
    image_memory_bytes: int = Field(2**30, gt=0)  # memory of all images they decode at a time
    image_timeout_s: float = Field(10.0, gt=0)  # an image that takes longer to decode is refused
    max_images_per_request: int = Field(256, gt=0, le=MAX_IMAGES)
    max_queued_jobs: int = Field(1000, gt=0)
    max_queued_jobs_per_key: int = Field(100, gt=0)  # paused jobs included
    max_batch_bytes: int = Field(2**30, gt=0)  # body of POST /batches; each image is within max_body_bytes
    max_batch_images: int = Field(1_000_000, gt=0)
    max_queued_batches: int = Field(100, gt=0)
    max_queued_batches_per_key: int = Field(20, gt=0)
    batch_retention_days: float = Field(7.0, ge=0)  # an ended batch is deleted after that, with its files; 0 keeps it
    max_dataset_bytes: int = Field(4 * 2**30, gt=0)  # body of POST /datasets; each image is within max_body_bytes
    max_dataset_unpacked_bytes: int = Field(16 * 2**30, gt=0)
    max_dataset_files: int = Field(1_000_000, gt=0)
    max_dataset_versions: int = Field(1_000, gt=0)  # of each data set
    # older versions than so many are deleted, but for those that a model was trained on; default: all are kept
    keep_dataset_versions: int | None = Field(None, gt=0)
    # images of a data set that a worker checks after its upload; of a larger one none; 0: no data set is checked
    max_checkup_images: int = Field(100_000, ge=0)
    max_dataset_builds: int = Field(2, gt=0)  # data sets read at a time, each in its own process; more wait
    dataset_build_bytes: int = Field(4 * 2**30, ge=2**29)  # address space of such a process
    dataset_build_s: float = Field(
        3600.0, gt=0
    )  # from its start; its processor time is limited by the size of the body
    max_zip_directory_bytes: int = Field(64 * 2**20, gt=0)  # the list of files in a zip
    max_open_uploads: int = Field(100, gt=0)  # not imported yet; each is within max_dataset_bytes
    max_open_uploads_per_key: int = Field(20, gt=0)
    # an upload without a further piece for so long loses the space that is kept for its rest; an empty one is deleted
    upload_reservation_s: float = Field(900.0, gt=0)
    max_listeners: int = Field(200, gt=0)  # open event streams and requests with wait=, per process
    max_listeners_per_key: int = Field(50, gt=0)
    predict_device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = Field(1, ge=1, le=256)  # service processes on the same port
    predict_threads: int | None = Field(None, gt=0)  # per process; default: the cores divided by the processes
    predict_batch: int = Field(32, gt=0)  # maximum images per run of the network
    predict_queue: int = Field(512, gt=0)  # images that may wait; more are refused with 429
    predict_memory_bytes: int = Field(2 * 2**30, gt=0)  # per process, for models; unused ones are unloaded
    fetch_urls: bool = False  # let /predict fetch images by URL, from public addresses only
    webhook_allow_private: bool = False  # deliver webhooks to private addresses too
    reload_poll_s: float = Field(0.5, gt=0)  # how often the service looks for a new model

    # the worker
    heartbeat_interval_s: float = Field(2.0, gt=0)  # between two heartbeats of a worker or a trainer
    lease_s: float = Field(10.0, gt=0)  # a worker silent for this long is lost and its job requeued
    poll_s: float = Field(0.5, gt=0)  # how often an idle worker looks for a job
    cancel_grace_s: float = Field(10.0, ge=0)  # time for a trainer to stop by itself before it is killed
    stop_grace_s: float = Field(20.0, ge=0)  # the same when the worker is stopped
    checkpoint_s: float = Field(300.0, gt=0)  # an epoch that takes longer has checkpoints within it
    stall_timeout_s: float = Field(120.0, gt=0)  # a trainer silent for this long is killed and its job retried
    dataset_bytes: int = Field(8 * 2**30, gt=0)  # a folder with more bytes of images is decoded in every epoch
    decode_processes: int = Field(default_factory=lambda: max(1, cpus() - 1), gt=0)  # decode such folders
    feature_cache_bytes: int = Field(4 * 2**30, ge=0)  # cached activations of a frozen part, on the device
    feature_disk_bytes: int = Field(32 * 2**30, ge=0)  # the same in data_dir; at most half of the free space
    keep_checkpoints: int = Field(2, ge=1)  # newest checkpoints to keep besides the best one
    train_threads: int | None = Field(None, gt=0)  # default: every core
    train_niceness: int = Field(5, ge=0, le=19)  # on a shared CPU, predictions have priority
    worker_idle_s: float | None = Field(None, gt=0)  # a worker without work for this long ends; default: it waits
    worker_max_s: float | None = Field(None, gt=0)  # it ends after this long and hands its job back; default: never
    prewarm_trainer: bool = True  # keep a trainer ready in an idle worker: 0.45 GB

    @model_validator(mode="before")
    @classmethod
    def _secrets_come_from_files(cls, fields: dict[str, Any]) -> dict[str, Any]:
        named = {name: fields[f"{name}_file"] for name in SECRETS if fields.get(f"{name}_file")}
        for name in named:
            if fields.get(name):
                raise ValueError(f"{_variable(name)} and {_variable(name)}_FILE exclude each other")
        return fields | {name: _secret(name, Path(file)) for name, file in named.items()}

    @model_validator(mode="after")
    def _one_request_fits_the_queue(self) -> Self:
        if self.predict_queue < self.max_images_per_request:
            raise ValueError(
                "TUNESERVE_PREDICT_QUEUE is less than TUNESERVE_MAX_IMAGES_PER_REQUEST: a full request would never fit"
            )
        return self

    @model_validator(mode="after")
    def _keys_are_required_or_not(self) -> Self:
        if self.require_keys and self.allow_without_keys:
            raise ValueError("TUNESERVE_REQUIRE_KEYS and TUNESERVE_ALLOW_WITHOUT_KEYS exclude each other")
        return self

    @model_validator(mode="after")
    def _one_body_fits_the_memory(self) -> Self:
        if self.in_flight_bytes < self.max_body_bytes:
            raise ValueError(
                "TUNESERVE_IN_FLIGHT_BYTES is less than TUNESERVE_MAX_BODY_BYTES: a full body would never fit."
            )
        return self

    @model_validator(mode="after")
    def _the_lease_fits_the_heartbeat_interval(self) -> Self:
        if self.lease_s < 3 * self.heartbeat_interval_s:
            raise ValueError(
                "TUNESERVE_LEASE_S must be at least three times TUNESERVE_HEARTBEAT_INTERVAL_S: "
                "one late heartbeat does not make a worker count as lost."
            )
        if self.lease_s + self.heartbeat_interval_s >= MAX_REQUEUE_S:
            raise ValueError(
                f"The sum of TUNESERVE_LEASE_S and TUNESERVE_HEARTBEAT_INTERVAL_S must be below {MAX_REQUEUE_S:g} s: "
                "a lost job is requeued within that time."
            )
        return self

    @field_validator("api_keys")
    @classmethod
    def _keys_can_be_read(cls, keys: SecretStr) -> SecretStr:
        if keys.get_secret_value():
            parse_keys(keys.get_secret_value())
        return keys

    @field_validator("cors_origins", "allowed_hosts", mode="before")
    @classmethod
    def _entries_are_parted(cls, entries: Any) -> Any:
        return re.findall(r"[^,\s]+", entries) if isinstance(entries, str) else entries

    @field_validator("cors_origins")
    @classmethod
    def _origins_are_origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [origin for origin in origins if not re.fullmatch(ORIGIN, origin)]:
            raise ValueError(f"{wrong[0]!r} is no origin: write https://host or https://host:port, without a path")
        return origins

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [host for host in hosts if not re.fullmatch(HOST, host)]:
            raise ValueError(f"{wrong[0]!r} is no host: write a name, an address or [an IPv6 one], and no port")
        return hosts

    @property
    def given_keys(self) -> tuple[GivenKey, ...]:
        text = self.api_keys.get_secret_value()
        return parse_keys(text) if text else ()

    @property
    def on_loopback(self) -> bool:
        """Check whether the service listens on the loopback only."""
        try:
            return self.host == "localhost" or ip_address(self.host).is_loopback
        except ValueError:
            return False  # any other name

    @property
    def keys_required(self) -> bool:
        """Check whether API keys are required.

        They are by the setting, or if other machines can reach the service.
        """
        return self.require_keys or not (self.on_loopback or self.allow_without_keys)

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'tuneserve.db'}"

    @property
    def resolved_predict_threads(self) -> int:
        return self.predict_threads or max(1, cpus() // self.processes)

    @property
    def resolved_concurrent_batches(self) -> int:
        """Return how many batches of a fast network run at once.

        Each runs on one thread. One more than there are threads, so that a core is busy while a batch waits for its
        images: 8 % more answers/s on two cores. On a single core it would cost 5 %.
        """
        threads = self.resolved_predict_threads
        return threads + 1 if threads > 1 else 1

    @property
    def resolved_datasets_dir(self) -> Path:
        return self.datasets_dir or self.downloaded_datasets_dir

    @property
    def downloaded_datasets_dir(self) -> Path:
        """Return where data sets are downloaded and unpacked; ``datasets_dir`` is only read."""
        return self.data_dir / "datasets"

    @property
    def dataset_files_dir(self) -> Path:
        """Return where the files of uploaded data sets lie."""
        return self.data_dir / "dataset_files"

    @property
    def resolved_weights_dir(self) -> Path:
        return self.weights_dir or self.data_dir / "weights"

    @property
    def spool_dir(self) -> Path:
        """Return the folder where large parts of a form wait.

        It is on the disk, since a /tmp may be memory.
        """
        return self.data_dir / "spool"

    def log_path(self, job_id: str, attempt: int) -> Path:
        """Return the path of an attempt's log, the trainer's output."""
        return self.data_dir / "jobs" / job_id / "logs" / f"attempt-{attempt:03d}.log"

    def environment(self) -> dict[str, str]:
        """Return the environment that gives a child process the same settings.

        API keys are left out: a trainer needs none, and the empty variable hides them. A secret from a file is read
        there again.
        """
        from_files = {name: "" for name in SECRETS if getattr(self, f"{name}_file")}
        no_keys = {"api_keys": "", "api_keys_file": ""}
        set_fields = self.model_dump(mode="json", exclude_none=True) | from_files | no_keys
        return {
            _variable(name): " ".join(value) if isinstance(value, list) else str(value)
            for name, value in set_fields.items()
        }


def read() -> Settings:
    """Read the settings from the environment; WrongSettings if they are invalid."""
    try:
        return Settings()
    except ValidationError as error:
        found = [(entry["loc"], entry["msg"]) for entry in error.errors(include_input=False, include_context=False)]
        raise WrongSettings([_reason(loc, message) for loc, message in found]) from error


def read_or_exit() -> Settings:
    """Read the settings, or exit with the reasons and no traceback."""
    try:
        return read()
    except WrongSettings as error:
        sys.exit(str(error))


def _variable(field: str) -> str:
    return PREFIX + field.upper()


def _secret(name: str, file: Path) -> str:
    """Read a secret from its file.

    ValueError names the variable and the file, never what the file holds.
    """
    try:
        text = file.read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise ValueError(f"{_variable(name)}_FILE names {file}, which cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise ValueError(f"{_variable(name)}_FILE names {file}, which is no text in UTF-8") from None
    if not text.strip():
        raise ValueError(f"{_variable(name)}_FILE names {file}, which is empty")
    return text


def _reason(loc: tuple[int | str, ...], message: str) -> str:
    """Describe an invalid setting, without its value: it may be a secret."""
    message = message.removeprefix("Value error, ").replace("Input should", "it should", 1)
    if not loc:
        which = "one of them" if message.count(PREFIX) > 1 else "it"
        return f"{message}. Correct {which}, or unset it."
    field = str(loc[0])
    default = Settings.model_fields[field].get_default()
    without = f", which means {default}" if isinstance(default, str | int | float) else ""
    return f"{_variable(field)} is wrong: {message}. Correct it, or unset it{without}."
