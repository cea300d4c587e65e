"""Exceptions.

TuneserveError
├── InvalidInput (ValueError)      the user can correct it; names the field
│   ├── NotAnImage
│   ├── UnsupportedType
│   ├── TooLarge
│   ├── KeyReused
│   ├── UnusableDataset
│   └── UrlNotReachable
├── Unauthorized                   no API key, or an unknown one
├── Forbidden                      the API key may not do this
├── CrossSite                      a page of another origin wants a change
├── HostNotAllowed                 the Host header names another host
├── NotFound
├── Conflict                       the resource's state does not allow it
├── Overloaded                     a bounded queue is full; try again
│   └── RateLimited
├── NotReady                       no model to answer with yet
│   └── NoSpace
├── DeadlineExceeded               the request's deadline passed
├── ClientClosedRequest            the client disconnected
├── ClaimLost                      another attempt owns the job: stop, and write nothing
├── Damaged                        bytes do not match their manifest
└── JobFailure                     ends a job; carries the code and the hint for its row
    ├── DatasetUnavailable
    ├── DatasetInvalid
    ├── WeightsUnavailable
    ├── ModelUnavailable
    ├── DeviceUnavailable
    ├── InvalidRecipe
    ├── LossNotFinite
    ├── OutOfMemory
    ├── DiskFull
    ├── Killed
    ├── WorkerLost
    ├── TimedOut
    └── InternalFailure

A class's docstring is its default message.
"""

import errno
from collections.abc import Mapping, Sequence
from typing import ClassVar

DISK_FULL = ("disk is full", "No space left")  # messages of SQLite and PostgreSQL


def is_disk_full(error: BaseException) -> bool:
    """Check whether an error means a full disk or quota.

    That is this process's own or the database's.
    """
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    reported = str(getattr(error, "orig", ""))  # SQLAlchemy's errors keep the driver's own there
    return any(words in reported for words in DISK_FULL)


class TuneserveError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class InvalidInput(TuneserveError, ValueError):
    """The request is not valid."""

    code: ClassVar[str] = "invalid_input"

    def __init__(self, message: str | None = None, pointer: str = "") -> None:
        super().__init__(message)
        self.pointer = pointer  # JSON pointer to the field, "" for the whole body


class NotAnImage(InvalidInput):
    """This is not an image that can be read."""

    code = "not_an_image"


class UnsupportedType(InvalidInput):
    """This content type is not accepted here."""

    code = "unsupported_type"


class TooLarge(InvalidInput):
    """This is larger than allowed."""

    code = "too_large"


class KeyReused(InvalidInput):
    """This Idempotency-Key came with another body before; take a new key for a new request."""

    code = "idempotency_key_reused"


class UnusableDataset(InvalidInput):
    """These files cannot be made into a data set."""

    code = "dataset_invalid"

    def __init__(self, message: str | None = None, problems: Sequence[Mapping[str, str]] = ()) -> None:
        super().__init__(message)
        self.problems = problems  # each with a pointer, a detail and further fields


class UrlNotReachable(InvalidInput):
    """Nothing that can be used comes from this URL."""

    code = "url_not_reachable"


class Unauthorized(TuneserveError):
    """This needs an API key: send the header Authorization: Bearer <key>."""


class Forbidden(TuneserveError):
    """The API key may not do this."""


class CrossSite(TuneserveError):
    """A page of another origin may not change anything here."""


class HostNotAllowed(TuneserveError):
    """The request's Host header names no allowed host."""


class NotFound(TuneserveError):
    """There is no such thing."""


class Conflict(TuneserveError):
    """The present state does not allow this."""


class Overloaded(TuneserveError):
    """Too much is waiting already; try again in a moment."""

    def __init__(self, message: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class RateLimited(Overloaded):
    """Too many requests in a short time."""


class NotReady(TuneserveError):
    """No model can answer yet."""


class NoSpace(NotReady):
    """Too little space is left on the disk."""


class DeadlineExceeded(TuneserveError):
    """There was no answer in the time that the request gave."""


class ClientClosedRequest(TuneserveError):
    """The client left before its answer was ready."""


class ClaimLost(TuneserveError):
    """This attempt no longer owns the job."""


class Damaged(TuneserveError):
    """A file is not what its manifest says."""


class JobFailure(TuneserveError):
    """The job cannot go on."""

    code: ClassVar[str] = "internal"
    default_hint: ClassVar[str] = "See the log: GET /jobs/{id}/logs."

    def __init__(self, message: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint


class DatasetUnavailable(JobFailure):
    """The data set is not on this machine and could not be downloaded."""

    code = "dataset_unavailable"
    default_hint = "Put the data set's files into TUNESERVE_DATASETS_DIR, or give the machine access to a mirror."


class DatasetInvalid(JobFailure):
    """The data set cannot be used as it is."""

    code = "dataset_invalid"
    default_hint = "Replace the files named in the message."


class WeightsUnavailable(JobFailure):
    """The pre-trained weights are not on this machine and could not be downloaded."""

    code = "weights_unavailable"
    default_hint = (
        'Set "network": "efficientnet_lite0", or "weights": "random", or name a file in TUNESERVE_WEIGHTS_FILE.'
    )


class ModelUnavailable(JobFailure):
    """The model that was to answer is not there any more."""

    code = "model_unavailable"
    default_hint = "Send the images again, with a model of GET /models."


class DeviceUnavailable(JobFailure):
    """The recipe requests a device that this machine does not have."""

    code = "device_unavailable"
    default_hint = 'Set "device": "auto".'


class InvalidRecipe(JobFailure):
    """Data set, network and recipe do not fit together."""

    code = "invalid_recipe"
    default_hint = "Change the field that the message names, then POST the job again."


class LossNotFinite(JobFailure):
    """The loss became infinite or not a number."""

    code = "loss_not_finite"
    default_hint = "Lower the learning_rate, or set precision to fp32."


class OutOfMemory(JobFailure):
    """The device or the machine ran out of memory."""

    code = "out_of_memory"
    default_hint = "Lower batch_size or image_size, or choose a smaller network."


class DiskFull(JobFailure):
    """No space is left where checkpoints and models are kept."""

    code = "disk_full"
    default_hint = "Free space under TUNESERVE_DATA_DIR, then POST the job again."


class Killed(JobFailure):
    """The training process was killed."""

    code = "killed"
    default_hint = "The system may have run out of memory: lower batch_size, or see the machine's kernel log."


class WorkerLost(JobFailure):
    """The worker that ran this job is gone."""

    code = "worker_lost"
    default_hint = "Start a worker, then POST the job again."


class TimedOut(JobFailure):
    """The job ran for longer than its time limit."""

    code = "timeout"
    default_hint = "POST /jobs/{id}/retry goes on from the last checkpoint, with the same limit anew."


class InternalFailure(JobFailure):
    """Something failed that should not fail."""
