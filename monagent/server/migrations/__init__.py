"""How the tables came to be what they are: one file a change, in `versions/`, never edited once it was released."""
