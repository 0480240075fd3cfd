"""Networks and the cards that tie them to codec, preprocessing and weights."""
