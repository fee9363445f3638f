"""INI files edited by people, and the typed settings that the programs are built from."""
