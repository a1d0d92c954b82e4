"""Own components of the page: the clip view and the value it draws."""
