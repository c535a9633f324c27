package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

const (
	modelGroup   = "peer.sandbox-apiserver.local"
	modelVersion = "v1"
	// A claim that is not bound by then never is.
	modelLimit = 30 * time.Second
)

var (
	modelClaims  = schema.GroupVersionResource{Group: modelGroup, Version: modelVersion, Resource: "claims"}
	modelMembers = schema.GroupVersionResource{Group: modelGroup, Version: modelVersion, Resource: "members"}
	crds         = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// model of a CRD with a controller: its client side, and what it needs.
type model struct {
	r    *run
	made bool
	// Members that were made, and how many of them are free.
	number, free int
}

func definition(plural, singular, kind string) *unstructured.Unstructured {
	schema := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata":   map[string]any{"name": plural + "." + modelGroup},
		"spec": map[string]any{
			"group": modelGroup,
			"scope": "Namespaced",
			"names": map[string]any{"plural": plural, "singular": singular, "kind": kind, "listKind": kind + "List"},
			"versions": []any{map[string]any{
				"name": modelVersion, "served": true, "storage": true,
				"subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type":       "object",
					"properties": map[string]any{"spec": schema, "status": schema},
				}},
			}},
		},
	}}
}

// start it: kinds, then the controller as a process of its own.
func (m *model) start(ctx context.Context) error {
	if m.made {
		return nil
	}
	m.made = true
	definitions := m.r.dyn.Resource(crds)
	for _, made := range []*unstructured.Unstructured{
		definition(modelClaims.Resource, "claim", "Claim"), definition(modelMembers.Resource, "member", "Member"),
	} {
		if _, err := definitions.Create(ctx, made, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		m.r.cleanup = append(m.r.cleanup, func() error {
			err := definitions.Delete(context.Background(), made.GetName(), metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return err
		})
	}
	for _, resource := range []schema.GroupVersionResource{modelClaims, modelMembers} {
		err := process.Await(ctx, resource.Resource, time.Minute, func() error {
			_, err := m.r.dyn.Resource(resource).Namespace(m.r.namespace).List(ctx, metav1.ListOptions{Limit: 1})
			return err
		})
		if err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	controller, err := process.Start(m.r.log("controller"), self, "-controller="+m.r.namespace)
	if err != nil {
		return err
	}
	m.r.processes[controllerName] = controller
	m.r.cleanup = append(m.r.cleanup, func() error { controller.Stop(); return nil })
	return nil
}

// ready makes sure of free members.
func (m *model) ready(ctx context.Context, count int) error {
	if err := m.start(ctx); err != nil {
		return err
	}
	if m.free >= count {
		m.free -= count
		return nil
	}
	for _, resource := range []schema.GroupVersionResource{modelClaims, modelMembers} {
		all := m.r.dyn.Resource(resource).Namespace(m.r.namespace)
		if err := all.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			return err
		}
	}
	stock := m.r.stockSize()
	const clients = 16
	err := wire.Together(ctx, m.r.admin, clients, func(ctx context.Context, c *wire.Client, i int) error {
		path := fmt.Sprintf("/apis/%s/%s/namespaces/%s/%s", modelGroup, modelVersion, m.r.namespace, modelMembers.Resource)
		for n := i; n < stock; n += clients {
			body, err := member(m.number + n).MarshalJSON()
			if err != nil {
				return err
			}
			if err := c.Do(ctx, http.MethodPost, path, body, nil, wire.Discard); err != nil {
				return err
			}
		}
		return nil
	})
	m.number += stock
	m.free = stock - count
	if err != nil {
		return err
	}
	// The controller's informer has them by then.
	return pause(ctx, 2*time.Second)
}

// member of about a Sandbox's size.
func member(number int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": modelGroup + "/" + modelVersion,
		"kind":       "Member",
		"metadata":   map[string]any{"name": fmt.Sprintf("member-%06d", number)},
		"spec":       map[string]any{"podTemplate": map[string]any{"spec": fakePod()}},
	}}
}

// modelConnection is a client of the model, in plain client-go.
type modelConnection struct {
	client *wire.Client
	claims dynamic.ResourceInterface
}

func (m *model) connect() (connection, error) {
	client, err := wire.New(m.r.admin)
	if err != nil {
		return nil, err
	}
	dyn, err := dynamic.NewForConfigAndClient(m.r.admin, client.HTTP)
	if err != nil {
		return nil, err
	}
	return &modelConnection{client, dyn.Resource(modelClaims).Namespace(m.r.namespace)}, nil
}

func (m *modelConnection) warm(ctx context.Context) error {
	_, err := m.claims.List(ctx, metav1.ListOptions{Limit: 1})
	return err
}

func (m *modelConnection) close() { m.client.Close() }

// claim and watch from the created object on until it is bound.
func (m *modelConnection) claim(ctx context.Context, replicas int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, modelLimit)
	defer cancel()
	made, err := m.claims.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": modelGroup + "/" + modelVersion,
		"kind":       "Claim",
		"metadata":   map[string]any{"generateName": "claim-"},
		"spec":       map[string]any{"replicas": int64(replicas)},
	}}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	events, err := m.claims.Watch(ctx, metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", made.GetName()).String(),
		ResourceVersion: made.GetResourceVersion(),
	})
	if err != nil {
		return nil, err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		claim, ok := event.Object.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("event %v", event)
		}
		if uids, _, _ := unstructured.NestedStringSlice(claim.Object, "status", "members"); len(uids) > 0 {
			if len(uids) != replicas {
				return nil, errors.New("bound to " + strconv.Itoa(len(uids)))
			}
			return uids, nil
		}
	}
	return nil, errors.Join(errors.New("the watch ended before the claim was bound"), ctx.Err())
}
