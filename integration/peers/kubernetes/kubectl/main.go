// Command kubectl is the client of Kubernetes as it is, of the version of the
// API server beside it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // credential plugins
)

func main() {
	logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) // kubectl logs before it parses
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
