package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A burst of all at once would measure the kubelet's queue.
const openingAtOnce = 8

// memory of our server before, with and after many sessions that say nothing.
func (b *bench) memory(ctx context.Context) error {
	_, before, err := b.server.Memory()
	if err != nil {
		return err
	}
	held, err := b.hold(ctx)
	if err != nil {
		return err
	}
	_, with, err := b.server.Memory()
	if err != nil {
		return err
	}
	if err := held.release(); err != nil {
		return err
	}
	_, after, err := b.server.Memory()
	if err != nil {
		return err
	}
	each := float64(with-before) / float64(b.size.sessions)
	fmt.Printf("\n%d idle sessions of exec through the front; VmRSS of our server: %d KiB before, %d with them, %d after.\n", b.size.sessions, before, with, after)
	fmt.Printf("%.1f KiB per session", each)
	if each > 0 {
		fmt.Printf(", %.1f sessions per MiB", 1024/each)
	}
	fmt.Println(".")
	return nil
}

type held struct {
	inputs []*io.PipeWriter
	ended  chan error
}

// opened tells when the command's first byte comes.
type opened struct {
	once sync.Once
	told chan struct{}
}

func (o *opened) Write(bytes []byte) (int, error) {
	o.once.Do(func() { close(o.told) })
	return len(bytes), nil
}

func (b *bench) hold(ctx context.Context) (*held, error) {
	all := &held{ended: make(chan error, b.size.sessions)}
	places := make(chan struct{}, openingAtOnce)
	var starting sync.WaitGroup
	failures := make(chan error, b.size.sessions)
	for range b.size.sessions {
		input, output := io.Pipe()
		all.inputs = append(all.inputs, output)
		starting.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			first, ended := &opened{told: make(chan struct{})}, make(chan error, 1)
			go func() { ended <- b.front.exec(ctx, input, first, "sh", "-c", "echo; cat") }()
			select {
			case <-first.told:
				go func() { all.ended <- <-ended }()
			case err := <-ended:
				failures <- fmt.Errorf("a session did not open: %w", err)
			}
		})
	}
	starting.Wait()
	close(failures)
	var err error
	for failure := range failures {
		err = errors.Join(err, failure)
	}
	return all, err
}

// release ends every command, and waits for it.
func (h *held) release() error {
	for _, input := range h.inputs {
		_ = input.Close()
	}
	late := time.After(stepLimit)
	for range h.inputs {
		select {
		case err := <-h.ended:
			if err != nil {
				return err
			}
		case <-late:
			return errors.New("a session does not end")
		}
	}
	return nil
}
