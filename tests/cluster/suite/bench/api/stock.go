package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"sandbox-apiserver.local/cluster/suite/internal/process"
	"sandbox-apiserver.local/cluster/suite/internal/wire"
)

// Objects are about 1 KiB as served: Go's server adds managedFields, a Sandbox has a status, and the rest is padding.
const leastSize = 1024

// What a fill may take on a slow machine.
const fillLimit = 3 * time.Minute

// equalise the sizes of what the subjects serve.
func equalise(ctx context.Context, subjects []*subject, namespace string) error {
	sizes := make([]int, len(subjects))
	largest := leastSize
	for i, s := range subjects {
		one, err := s.served(ctx, namespace, "probe")
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		sizes[i] = len(one)
		largest = max(largest, len(one))
	}
	for i, s := range subjects {
		s.padding = largest - sizes[i]
		one, err := s.served(ctx, namespace, "padded")
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		// The names differ by a letter.
		if difference := len(one) - largest; difference < -20 || difference > 20 {
			return fmt.Errorf("%s serves %d bytes after padding to %d", s.name, len(one), largest)
		}
		fmt.Printf("%-12s %d bytes as served, %d of them padding\n", s.name+":", len(one), s.padding)
	}
	return nil
}

// served form of a new object, once the loop is through with it.
func (s *subject) served(ctx context.Context, namespace, name string) ([]byte, error) {
	c, err := wire.New(s.direct)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := create(ctx, c, s, namespace, name); err != nil {
		return nil, err
	}
	var text []byte
	err = process.Await(ctx, "settled "+name, time.Minute, func() (err error) {
		if text, err = c.Get(ctx, s.collection(namespace)+"/"+name); err != nil {
			return err
		}
		if !bytes.Contains(text, []byte(s.settled)) {
			return fmt.Errorf("it is %s", text)
		}
		var object struct{ Kind string }
		if err := json.Unmarshal(text, &object); err != nil || object.Kind != s.kind {
			return fmt.Errorf("kind %q: %w", object.Kind, err)
		}
		return nil
	})
	return text, err
}

// fill a namespace through many connections, and check by one decoded list that everything is there.
func (s *subject) fill(ctx context.Context, namespace string, count int) error {
	ctx, cancel := context.WithTimeout(ctx, fillLimit)
	defer cancel()
	var next atomic.Int64
	err := wire.Together(ctx, s.direct, 32, func(ctx context.Context, c *wire.Client, _ int) error {
		for ctx.Err() == nil {
			i := int(next.Add(1)) - 1
			if i >= count {
				return nil
			}
			if err := create(ctx, c, s, namespace, objectName(i)); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	if err != nil {
		return fmt.Errorf("fill %s with %d objects: %w", s.name, count, err)
	}
	c, err := wire.New(s.direct)
	if err != nil {
		return err
	}
	defer c.Close()
	return process.Await(ctx, "settled list", fillLimit, func() error { return s.check(ctx, c, namespace, count) })
}

func objectName(i int) string { return fmt.Sprintf("object-%06d", i) }

// check decodes the list once.
func (s *subject) check(ctx context.Context, c *wire.Client, namespace string, count int) error {
	text, err := c.Get(ctx, s.collection(namespace))
	if err != nil {
		return err
	}
	var list struct {
		Items []struct {
			Metadata struct {
				Name        string
				Annotations map[string]string
			}
		}
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return err
	}
	if len(list.Items) != count {
		return fmt.Errorf("%s lists %d objects, want %d", s.name, len(list.Items), count)
	}
	for i, item := range list.Items {
		if item.Metadata.Name != objectName(i) || len(item.Metadata.Annotations[padKey]) != s.padding {
			return fmt.Errorf("%s lists %+v at %d", s.name, item.Metadata, i)
		}
	}
	if settled := bytes.Count(text, []byte(s.settled)); s.settled != "" && settled != count {
		return fmt.Errorf("%d of %d are settled", settled, count)
	}
	return nil
}

// empty the namespace again.
func (s *subject) empty(ctx context.Context, namespace string) error {
	c, err := wire.New(s.direct)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Do(ctx, http.MethodDelete, s.collection(namespace), nil, nil, wire.Discard); err != nil {
		return err
	}
	return process.Await(ctx, "empty namespace", time.Minute, func() error { return s.check(ctx, c, namespace, 0) })
}
