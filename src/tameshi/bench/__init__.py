"""How a check is run, stored, judged and reported; knows no paper."""
