module msgxc/benchmarks/fake

go 1.24.0

require golang.org/x/net v0.38.0
