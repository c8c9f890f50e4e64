package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInvocation(t *testing.T) {
	tests := []struct {
		args                string
		kubeconfig, context string
		local               bool
		with                string // the arguments with another kubeconfig
	}{
		{args: "get pods", with: "get pods"},
		{args: "--context a get pods --context=b", context: "b", with: "--context a get pods --context=b"},
		{args: "--kubeconfig k get --kubeconfig=l pods", kubeconfig: "l", with: "--kubeconfig new get --kubeconfig=new pods"},
		{args: "get --kubeconfig", with: "get --kubeconfig"},
		{args: "exec p -- sh --kubeconfig k --help", with: "exec p -- sh --kubeconfig k --help"},
		{args: "-n --kubeconfig get pods", with: "-n --kubeconfig get pods"},
		{args: "-n config get pods", with: "-n config get pods"},
		{args: "-n ns config view", local: true, with: "-n ns config view"},
		{args: "-nns config view", local: true, with: "-nns config view"},
		{args: "--namespace=ns config view", local: true, with: "--namespace=ns config view"},
		{args: "-v 6 completion bash", local: true, with: "-v 6 completion bash"},
		{args: "-s config get pods", with: "-s config get pods"},
		{args: "--server config get pods", with: "--server config get pods"},
		{args: "--cluster config get pods", with: "--cluster config get pods"},
		{args: "--user config get pods", with: "--user config get pods"},
		{args: "version", with: "version"},
		{args: "version --client", local: true, with: "version --client"},
		{args: "version --client=true", local: true, with: "version --client=true"},
		{args: "version --client=false", with: "version --client=false"},
		{args: "get pods --client", with: "get pods --client"},
		{args: "get --help", local: true, with: "get --help"},
		{args: "-h", local: true, with: "-h"},
		{args: "", local: true},
		{args: "logs -f - --tail=1", with: "logs -f - --tail=1"},
		{args: "apply -f - --kubeconfig= --dry-run", with: "apply -f - --kubeconfig=new --dry-run"},
	}
	for _, tt := range tests {
		args := strings.Fields(tt.args)
		inv := readInvocation(args)
		got := []any{inv.kubeconfig, inv.context, inv.local, strings.Join(inv.with("new"), " ")}
		if diff := cmp.Diff([]any{tt.kubeconfig, tt.context, tt.local, tt.with}, got); diff != "" {
			t.Errorf("%q: %s", tt.args, diff)
		}
		if strings.Join(args, " ") != tt.args {
			t.Errorf("%q was changed to %q", tt.args, args)
		}
	}
}
