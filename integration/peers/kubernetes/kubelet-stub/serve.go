package main

import (
	"net/http"

	"k8s.io/cri-streaming/pkg/streaming"
	"k8s.io/cri-streaming/pkg/streaming/portforward"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
)

// handler serves the kubelet's paths for the one pod that is here.
func handler(pod string, c *container) http.Handler {
	mux := http.NewServeMux()
	// As the kubelet's: a pod that is not here is not found.
	serve := func(path string, h http.HandlerFunc) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			name := r.PathValue("container")
			if r.PathValue("namespace") != namespace || r.PathValue("pod") != pod || name != "" && name != pod {
				http.Error(w, "pod does not exist", http.StatusNotFound)
				return
			}
			h(w, r)
		})
	}
	serve("/exec/{namespace}/{pod}/{container}", c.serveExec)
	serve("/attach/{namespace}/{pod}/{container}", c.serveAttach)
	serve("/portForward/{namespace}/{pod}", servePortForward)
	serve("GET /containerLogs/{namespace}/{pod}/{container}", c.serveLogs)
	return mux
}

func (c *container) serveExec(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := streaming.DefaultConfig
	remotecommand.ServeExec(w, r, c, "", "", "", r.URL.Query()["command"], opts,
		s.StreamIdleTimeout, s.StreamCreationTimeout, s.SupportedRemoteCommandProtocols)
}

func (c *container) serveAttach(w http.ResponseWriter, r *http.Request) {
	opts, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := streaming.DefaultConfig
	remotecommand.ServeAttach(w, r, c, "", "", "", opts,
		s.StreamIdleTimeout, s.StreamCreationTimeout, s.SupportedRemoteCommandProtocols)
}

func servePortForward(w http.ResponseWriter, r *http.Request) {
	opts, err := portforward.NewV4Options(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := streaming.DefaultConfig
	portforward.ServePortForward(w, r, ports{}, "", "", opts,
		s.StreamIdleTimeout, s.StreamCreationTimeout, s.SupportedPortForwardProtocols)
}
