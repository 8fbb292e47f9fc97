"""Where enrolments live between two runs of the controller."""
