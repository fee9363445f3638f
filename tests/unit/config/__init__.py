"""INI files and the settings made of them."""
