"""The exceptions that speak of devices, engines and where arrays live."""


class DeviceUnavailableError(RuntimeError):
    """A device was asked for by name and can't be used; the message says why and what to do."""


class EngineUnavailableError(RuntimeError):
    """An engine was asked for by name and can't run here, on this device or on this dtype."""


class MixedBackendsError(TypeError):
    """Arrays of one call live on different devices or in different array libraries."""
