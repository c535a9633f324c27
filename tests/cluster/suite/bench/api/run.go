package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"sandbox-apiserver.local/cluster/suite/internal/cluster"
	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// run of the benchmark.
type run struct {
	env         cluster.Environment
	programs    programs
	admin       *rest.Config
	core        kubernetes.Interface
	dyn         dynamic.Interface
	certificate keypair
	// Of the Services, and the beginning of the other namespaces' names.
	home       string
	namespaces []string
	subjects   []*subject
	filled     map[string]bool
	cleanup    []func() error

	only    *regexp.Regexp
	turn    time.Duration
	turns   int
	objects int
}

func prepare(ctx context.Context) (*run, error) {
	r := &run{filled: map[string]bool{}}
	var err error
	if r.env, err = cluster.FromEnvironment(); err != nil {
		return nil, err
	}
	if r.programs, err = programsFromEnvironment(); err != nil {
		return nil, err
	}
	if r.admin, err = r.env.RestConfig(); err != nil {
		return nil, err
	}
	if r.core, err = kubernetes.NewForConfig(r.admin); err != nil {
		return nil, err
	}
	if r.dyn, err = dynamic.NewForConfig(r.admin); err != nil {
		return nil, err
	}
	made, err := r.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "bench-api-"},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	r.home = made.Name
	r.namespaces = []string{made.Name}
	r.certificate, err = mint(filepath.Join(r.env.DevDir, "pki"), filepath.Join(r.env.DevDir, "bin", "bench"), r.home)
	return r, errors.Join(err, r.makeNamespaces(ctx))
}

func (r *run) namespace(purpose string) string { return r.home + "-" + purpose }

func (r *run) makeNamespaces(ctx context.Context) error {
	for _, purpose := range []string{"probe", "few", "many", "fresh", "held"} {
		name := r.namespace(purpose)
		_, err := r.core.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		r.namespaces = append(r.namespaces, name)
	}
	return nil
}

// close what was opened, the last first; even after an interrupt.
func (r *run) close() error {
	var failures []error
	for i := len(r.cleanup) - 1; i >= 0; i-- {
		failures = append(failures, r.cleanup[i]())
	}
	for _, name := range r.namespaces {
		err := r.core.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
		if !apierrors.IsNotFound(err) {
			failures = append(failures, err)
		}
	}
	data, err := filepath.Glob(filepath.Join(r.env.DevDir, "data", "bench-*"))
	failures = append(failures, err)
	for _, directory := range data {
		failures = append(failures, os.RemoveAll(directory))
	}
	return errors.Join(failures...)
}

// startSubjects and tell the aggregator.
func (r *run) startSubjects(ctx context.Context) error {
	for _, kind := range []string{ours, peer} {
		started, err := r.startPair(ctx, serviceName(kind), kind)
		if err != nil {
			return err
		}
		r.cleanup = append(r.cleanup, func() error { started.stop(); return nil })
		undo, err := r.register(ctx, started)
		if err != nil {
			return err
		}
		r.cleanup = append(r.cleanup, undo)
		r.subjects = append(r.subjects, started.subject)
	}
	r.subjects = append(r.subjects, r.running())
	if err := r.awaitNamespaces(ctx); err != nil {
		return err
	}
	return equalise(ctx, r.subjects, r.namespace("probe"))
}

// awaitNamespaces until every server has heard of the newest one: it refuses to create in one that it does not know.
func (r *run) awaitNamespaces(ctx context.Context) error {
	newest := r.namespaces[len(r.namespaces)-1]
	for _, s := range r.subjects {
		c, err := wire.New(s.direct)
		if err != nil {
			return err
		}
		err = process.Await(ctx, s.name+" that knows the namespaces", time.Minute, func() error {
			return c.Do(ctx, "POST", s.collection(newest)+"?dryRun=All", s.object(newest, "probe"), nil, wire.Discard)
		})
		c.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// stock the namespace of the operation, once.
func (r *run) stock(ctx context.Context, s *subject, namespace string, objects int) error {
	key := s.name + " " + namespace
	if objects == 0 || r.filled[key] {
		return nil
	}
	r.filled[key] = true
	return s.fill(ctx, namespace, objects)
}

// measureMemory of fresh servers, one after the other.
func (r *run) measureMemory(ctx context.Context) (map[string]footprint, error) {
	found := map[string]footprint{}
	for i, kind := range []string{ours, peer} {
		held, err := func() (footprint, error) {
			fresh, err := r.startPair(ctx, serviceName(kind)+"-held", kind)
			if err != nil {
				return footprint{}, err
			}
			defer fresh.stop()
			fresh.subject.padding = r.subjects[i].padding
			return hold(ctx, fresh.subject, r.namespace("held"), r.objects)
		}()
		if err != nil {
			return nil, fmt.Errorf("memory of %s: %w", kind, err)
		}
		found[kind] = held
	}
	return found, nil
}
