package main

// kubeCmd are the commands about Kubernetes clusters other than the listener,
// which is `tshx proxy kube`.
type kubeCmd struct{}
