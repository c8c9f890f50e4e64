// Command kube-apiserver is the API server of Kubernetes as it is. It is what
// the integration tests talk to, together with the other programs of this
// module: no Debian package has one that is recent.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-apiserver/app"
)

func main() { os.Exit(cli.Run(app.NewAPIServerCommand())) }
