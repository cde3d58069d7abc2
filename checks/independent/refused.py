"""The one error of this decoder."""


class RefusedError(Exception):
    """The file is not as docs/FORMAT.md says it must be; the message says where."""


def demand(holds: bool, what: str) -> None:
    """Refuse unless `holds`."""
    if not holds:
        raise RefusedError(what)
