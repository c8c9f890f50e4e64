package lab

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tshx/internal/proxyserver"
)

// kubeAPI is the built-in Kubernetes cluster: the few answers of an API server by
// which kubectl finds out its version, which namespaces there are, that there are
// no pods, and who it is taken for. It is no Kubernetes: nothing runs in it, nothing can be changed, a
// watch never has news, and other paths are unknown. Whoever shows its token is
// taken for the user and groups that the request impersonates.
type kubeAPI struct {
	token   string
	started time.Time
}

// kubeVersion is whose API the answers are in the form of.
const kubeVersion = "v1.37.0+tshx-lab"

// kubeNamespaces are all that there are.
var kubeNamespaces = []string{"default", "demo"}

// object is one of the Kubernetes API, or a part of one.
type object = map[string]any

// builtinKube starts a cluster.
func (l *Lab) builtinKube(name string) (proxyserver.Kube, error) {
	k := &kubeAPI{token: rand.Text(), started: time.Now()}
	addr, err := l.web(k.handler())
	return proxyserver.Kube{Name: name, Server: "http://" + addr, Token: k.token}, err
}

func (k *kubeAPI) handler() http.Handler {
	mux := http.NewServeMux()
	for path, o := range kubeDiscovery() {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { send(w, http.StatusOK, o) })
	}
	mux.HandleFunc("GET /api/v1/namespaces", k.list)
	mux.HandleFunc("GET /api/v1/namespaces/{name}", k.get)
	mux.HandleFunc("GET /api/v1/pods", k.pods)
	mux.HandleFunc("GET /api/v1/namespaces/{name}/pods", k.pods)
	mux.HandleFunc("POST /apis/authentication.k8s.io/v1/selfsubjectreviews", whoami)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			sendStatus(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "the lab's cluster can only be read")
			return
		}
		sendStatus(w, http.StatusNotFound, "NotFound", "the lab's cluster has no "+r.URL.Path)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+k.token {
			sendStatus(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// kubeDiscovery returns by path what clients ask first.
func kubeDiscovery() map[string]object {
	const group, version = "authentication.k8s.io", "authentication.k8s.io/v1"
	v1 := object{"groupVersion": version, "version": "v1"}
	resources := func(version string, r ...object) object {
		return object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": r}
	}
	return map[string]object{
		"/version": {"major": "1", "minor": "37", "gitVersion": kubeVersion},
		"/api":     {"kind": "APIVersions", "versions": []string{"v1"}},
		"/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []object{
			{"name": group, "versions": []object{v1}, "preferredVersion": v1},
		}},
		"/api/v1": resources("v1", object{
			"name": "namespaces", "singularName": "namespace", "shortNames": []string{"ns"}, "kind": "Namespace",
			"namespaced": false, "verbs": []string{"get", "list", "watch"},
		}, object{
			"name": "pods", "singularName": "pod", "shortNames": []string{"po"}, "kind": "Pod",
			"namespaced": true, "verbs": []string{"list", "watch"},
		}),
		"/apis/" + version: resources(version, object{
			"name": "selfsubjectreviews", "singularName": "selfsubjectreview", "kind": "SelfSubjectReview",
			"namespaced": false, "verbs": []string{"create"},
		}),
	}
}

// whoami answers with the user that a request is made as. What is in its body
// does not matter.
func whoami(w http.ResponseWriter, r *http.Request) {
	user, groups := r.Header.Get("Impersonate-User"), r.Header["Impersonate-Group"]
	if user == "" {
		user, groups = "lab", []string{"system:masters"}
	}
	send(w, http.StatusCreated, object{
		"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": object{},
		"status": object{"userInfo": object{
			"username": user, "groups": append(slices.Clone(groups), "system:authenticated"),
		}},
	})
}

func (k *kubeAPI) get(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	if !slices.Contains(kubeNamespaces, name) {
		sendStatus(w, http.StatusNotFound, "NotFound", fmt.Sprintf("namespaces %q not found", name))
		return
	}
	o := k.namespace(name)
	if wantsTable(r) {
		o = k.table(name)
	}
	send(w, http.StatusOK, o)
}

// list answers with the namespaces, at once or as a watch. Of selectors it knows
// the one by name, which kubectl uses to watch a single object.
func (k *kubeAPI) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	names := kubeNamespaces
	name, byName := strings.CutPrefix(q.Get("fieldSelector"), "metadata.name=")
	switch {
	case q.Get("labelSelector") != "", q.Get("fieldSelector") != "" && !byName:
		sendStatus(w, http.StatusBadRequest, "BadRequest", "the lab's cluster knows no selectors but metadata.name=NAME")
		return
	case byName:
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n != name })
	}
	switch {
	case q.Get("watch") == "true" || q.Get("watch") == "1":
		k.watch(w, r, names)
	case wantsTable(r):
		send(w, http.StatusOK, k.table(names...))
	default:
		items := []object{}
		for _, n := range names {
			items = append(items, k.namespace(n))
		}
		send(w, http.StatusOK, object{"kind": "NamespaceList", "apiVersion": "v1", "metadata": kubeListMeta(), "items": items})
	}
}

// pods answers that there are none.
func (k *kubeAPI) pods(w http.ResponseWriter, r *http.Request) {
	if q := r.URL.Query(); q.Get("watch") == "true" || q.Get("watch") == "1" {
		k.watch(w, r, nil)
		return
	}
	send(w, http.StatusOK, object{"kind": "PodList", "apiVersion": "v1", "metadata": kubeListMeta(), "items": []object{}})
}

// watch sends what there is, if that is asked for, and then nothing until the
// client leaves, its time is over, or the lab ends.
func (k *kubeAPI) watch(w http.ResponseWriter, r *http.Request, names []string) {
	q, ctx := r.URL.Query(), r.Context()
	if s, err := strconv.Atoi(q.Get("timeoutSeconds")); err == nil && s > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(s)*time.Second)
		defer cancel()
	}
	w.Header().Set("Content-Type", "application/json")
	events := json.NewEncoder(w)
	initial := q.Get("sendInitialEvents") == "true"
	if since := q.Get("resourceVersion"); initial || since == "" || since == "0" {
		for _, n := range names {
			o := k.namespace(n)
			if wantsTable(r) {
				o = k.table(n)
			}
			events.Encode(object{"type": "ADDED", "object": o})
		}
	}
	if initial {
		meta := kubeListMeta()
		meta["annotations"] = object{"k8s.io/initial-events-end": "true"}
		events.Encode(object{"type": "BOOKMARK", "object": object{"kind": "Namespace", "apiVersion": "v1", "metadata": meta}})
	}
	http.NewResponseController(w).Flush()
	<-ctx.Done()
	if r.Context().Err() != nil { // not the time that was asked for: no end in order
		panic(http.ErrAbortHandler)
	}
}

func (k *kubeAPI) namespace(name string) object {
	return object{
		"kind": "Namespace", "apiVersion": "v1", "metadata": k.meta(name), "status": object{"phase": "Active"},
	}
}

func (k *kubeAPI) meta(name string) object {
	meta := kubeListMeta()
	meta["name"], meta["uid"] = name, "lab-"+name
	meta["creationTimestamp"] = k.started.UTC().Format(time.RFC3339)
	return meta
}

// kubeListMeta has the one version that everything is of.
func kubeListMeta() object { return object{"resourceVersion": "1"} }

// wantsTable reports whether a client wants rows to print.
func wantsTable(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "as=Table") }

func (k *kubeAPI) table(names ...string) object {
	column := func(name, format string) object {
		return object{"name": name, "type": "string", "format": format, "description": "", "priority": 0}
	}
	rows := []object{}
	for _, n := range names {
		rows = append(rows, object{
			"cells":  []any{n, "Active", time.Since(k.started).Truncate(time.Second).String()},
			"object": object{"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": k.meta(n)},
		})
	}
	return object{
		"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": kubeListMeta(),
		"columnDefinitions": []object{column("Name", "name"), column("Status", ""), column("Age", "")}, "rows": rows,
	}
}

func send(w http.ResponseWriter, code int, o object) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	json.NewEncoder(w).Encode(o)
}

func sendStatus(w http.ResponseWriter, code int, reason, message string) {
	send(w, code, object{
		"kind": "Status", "apiVersion": "v1", "metadata": object{}, "status": "Failure",
		"message": message, "reason": reason, "code": code,
	})
}
