//go:build linux

package integration

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"tshx/internal/lab"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

// kubeClient is a client in the way of Go programs, for the objects of a
// namespace.
func kubeClient(t testing.TB, kubeconfig, namespace string) dynamic.ResourceInterface {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	check(t, err)
	config.QPS = -1 // as fast as it goes
	client, err := dynamic.NewForConfig(config)
	check(t, err)
	return client.Resource(configMaps).Namespace(namespace)
}

// follower keeps what an informer tells about, as controllers do.
type follower struct {
	watches atomic.Int64 // how often it began to watch
	mu      sync.Mutex
	seen    map[string]string // resource versions by name
}

// follow runs an informer until ctx ends.
func follow(ctx context.Context, t testing.TB, client dynamic.ResourceInterface, running *sync.WaitGroup) *follower {
	t.Helper()
	f := &follower{seen: map[string]string{}}
	informer := cache.NewSharedInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			f.watches.Add(1)
			return client.Watch(ctx, o)
		},
	}, &unstructured.Unstructured{}, 0)
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { f.note(o, true) },
		UpdateFunc: func(_, o any) { f.note(o, true) },
		DeleteFunc: func(o any) { f.note(o, false) },
	})
	check(t, err)
	check(t, informer.SetWatchErrorHandlerWithContext(func(context.Context, *cache.Reflector, error) {})) // they are meant to be
	running.Go(func() { informer.RunWithContext(ctx) })
	return f
}

func (f *follower) note(o any, there bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
		o = gone.Obj
	}
	u := o.(*unstructured.Unstructured)
	if there {
		f.seen[u.GetName()] = u.GetResourceVersion()
	} else {
		delete(f.seen, u.GetName())
	}
}

func (f *follower) knows(state map[string]string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Equal(f.seen, state)
}

// churn creates, changes and deletes objects, and returns what is there after
// that. It calls midway in the middle of it.
func churn(t testing.TB, client dynamic.ResourceInterface, round int, midway func()) map[string]string {
	t.Helper()
	ctx := t.Context()
	object := func(n int, word string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": fmt.Sprintf("object-%d", n)},
			"data": map[string]any{"word": word},
		}}
	}
	const each = 20
	for n := round * each; n < (round+1)*each; n++ {
		_, err := client.Create(ctx, object(n, "new"), metav1.CreateOptions{})
		check(t, err)
		if n%each == each/2 {
			midway()
		}
		_, err = client.Update(ctx, object(n-n%5, fmt.Sprint("changed ", n)), metav1.UpdateOptions{})
		check(t, err)
		if n%5 == 4 {
			check(t, client.Delete(ctx, object(n, "").GetName(), metav1.DeleteOptions{}))
		}
	}
	list, err := client.List(ctx, metav1.ListOptions{})
	check(t, err)
	state := map[string]string{}
	for _, o := range list.Items {
		state[o.GetName()] = o.GetResourceVersion()
	}
	return state
}

// TestKubeInformers: Go programs that follow objects through the proxy know all
// that is there, however often the connection is cut under them.
func TestKubeInformers(t *testing.T) {
	const cuts, each = 3, 2
	t.Parallel()
	nothingLeft(t)
	direct := kubeDirect(t)
	namespace := direct.newNamespace(t)
	ctx, stop := context.WithCancel(klog.NewContext(t.Context(), klog.Logger{})) // silent
	var running sync.WaitGroup
	t.Cleanup(func() { stop(); running.Wait() })
	var boards []*switchboard
	var list []*follower
	for _, name := range []string{"raw", "websocket nginx"} {
		way := kubeTransport(t, name)
		board := newSwitchboard(t, loopback(way.addr))
		tr, err := kubeClusterOf(t, way).login(at("localhost", board.addr), lab.HomeOptions{})
		check(t, err)
		kubeconfig := launch(t, tr.options(), tshxPath, "proxy", "kube", kubeDemo).lineAfter("kubeconfig: ")
		for range each {
			list = append(list, follow(ctx, t, kubeClient(t, kubeconfig, namespace), &running))
		}
		boards = append(boards, board)
	}
	server := kubeClient(t, direct.config, namespace)
	for round := range cuts + 1 {
		before := make(map[*follower]int64)
		for _, f := range list {
			before[f] = f.watches.Load()
		}
		state := churn(t, server, round, func() {
			for _, b := range boards {
				if round > 0 {
					b.cut()
				}
			}
		})
		for i, f := range list {
			if !eventually(patience, func() bool { return f.knows(state) && (round == 0 || f.watches.Load() > before[f]) }) {
				t.Fatalf("after %d cuts: informer %d of %d has not all of %d objects, having begun to watch %d times",
					round, i+1, len(list), len(state), f.watches.Load())
			}
		}
	}
}
