"""What turns a plan into a history: real servers, or a model of them."""
