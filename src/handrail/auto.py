"""`import handrail.auto` as the first import of a service: nothing else to write.

Works for applications made before or after it, module-level or by a factory, under any number
of workers and with reload. Raises SettingsError for a wrong setting.
"""

from ._protect import automatic

automatic()
