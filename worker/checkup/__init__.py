"""Check a data set after its upload: repeated, wrongly labelled and odd images."""
