module sidespan/prometheus-operator

go 1.26.0

// Nothing of it is compiled: the tests take its resource definitions, example/prometheus-operator-crd.
require github.com/prometheus-operator/prometheus-operator v0.85.0
