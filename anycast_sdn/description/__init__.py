"""The network file, from text to frozen values.

``text`` → ``sections`` (whose values have the forms of ``values``) → ``model``, which ``checks``, ``uplink_checks`` and
``enrolment`` judge as a whole; ``reading`` performs these steps.  ``reference`` describes the format of the sections.
"""
