module garbage

go 1.22
