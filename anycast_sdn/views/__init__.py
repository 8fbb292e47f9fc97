"""What is shown of a running controller: values and their JSON form.  They read the controller, which knows none."""
