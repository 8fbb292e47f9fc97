"""What is shown of a running controller, as values and as JSON.  Views read the controller; it imports none of them."""
