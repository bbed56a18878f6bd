"""Running many cases: servers that start once per group of cases, two sides compared, deaths survived."""
