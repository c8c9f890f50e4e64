package main

import (
	"context"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const (
	namespace  = metav1.NamespaceDefault
	localhost  = "127.0.0.1"
	retryEvery = 50 * time.Millisecond
)

// register creates the node, the service account that every pod must have and
// the pod, and says that both are up. It tries until ctx ends, because a fresh
// API server makes its namespaces only after it says that it is ready.
func register(ctx context.Context, s settings, port string) error {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return err
	}
	node := nodeOf(s.node, int32(number))
	pod := podOf(s.node, s.pod)
	for _, step := range []func() error{
		func() error {
			_, err := api.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
			return err
		},
		func() error { return reportNode(ctx, api, node) },
		func() error {
			account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
			_, err := api.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
			return err
		},
		func() error {
			_, err := api.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
			return err
		},
		func() error { return reportPod(ctx, api, pod) },
	} {
		if err := retry(ctx, step); err != nil {
			return err
		}
	}
	return nil
}

// retry runs step until it succeeds, or fails in a way that time will not heal.
func retry(ctx context.Context, step func() error) error {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		err := step()
		switch {
		case err == nil, apierrors.IsAlreadyExists(err):
			return nil
		case !apierrors.IsNotFound(err) && !apierrors.IsForbidden(err) && !apierrors.IsConflict(err):
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

func nodeOf(name string, port int32) *corev1.Node {
	now := metav1.Now()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: localhost}, {Type: corev1.NodeHostName, Address: name},
			},
			DaemonEndpoints: corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: port}},
			Conditions: []corev1.NodeCondition{{
				Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady",
				LastHeartbeatTime: now, LastTransitionTime: now,
			}},
		},
	}
}

// reportNode puts the port into a node that is there from an earlier run, too.
func reportNode(ctx context.Context, api kubernetes.Interface, want *corev1.Node) error {
	node, err := api.CoreV1().Nodes().Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	node.Status = want.Status
	_, err = api.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{})
	return err
}

func podOf(node, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			NodeName:                     node,
			AutomountServiceAccountToken: new(false),
			Containers:                   []corev1.Container{{Name: name, Image: "localhost/box:latest", Stdin: true}},
		},
	}
}

func reportPod(ctx context.Context, api kubernetes.Interface, want *corev1.Pod) error {
	pod, err := api.CoreV1().Pods(namespace).Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	now := metav1.Now()
	condition := func(t corev1.PodConditionType) corev1.PodCondition {
		return corev1.PodCondition{Type: t, Status: corev1.ConditionTrue, LastTransitionTime: now}
	}
	name := pod.Spec.Containers[0].Name
	pod.Status = corev1.PodStatus{
		Phase:  corev1.PodRunning,
		HostIP: localhost, HostIPs: []corev1.HostIP{{IP: localhost}},
		PodIP: localhost, PodIPs: []corev1.PodIP{{IP: localhost}},
		StartTime: &now,
		Conditions: []corev1.PodCondition{
			condition(corev1.PodScheduled), condition(corev1.PodInitialized),
			condition(corev1.ContainersReady), condition(corev1.PodReady),
		},
		ContainerStatuses: []corev1.ContainerStatus{{
			Name: name, Ready: true, Started: new(true), Image: pod.Spec.Containers[0].Image, ContainerID: "stub://" + name,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		}},
	}
	_, err = api.CoreV1().Pods(namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}
