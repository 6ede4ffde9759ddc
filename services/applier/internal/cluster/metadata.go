package cluster

import (
	"context"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// GetMetadata returns the metadata of an object.
func (c *Client) GetMetadata(ctx context.Context, r Ref) (*metav1.PartialObjectMetadata, error) {
	resource, err := c.metadataOf(r)
	if err != nil {
		return nil, err
	}
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	defer c.release()
	o, err := resource.Get(ctx, r.Name, metav1.GetOptions{})
	return o, bare(err)
}

// ListMetadata lists objects of the reference's kind in all namespaces. One of another cluster than the applier's own is
// read in pages, and its error is a *TooLargeError when it is.
func (c *Client) ListMetadata(ctx context.Context, r Ref, opts metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	m, err := c.cluster.Mapping(r.GVK())
	if err != nil {
		return nil, err
	}
	resource := c.metadata.Resource(m.Resource)
	if c.cluster.trusted {
		return resource.List(ctx, opts)
	}
	// With a version, as of a cache, all would come in one page.
	opts.Limit, opts.ResourceVersion, opts.ResourceVersionMatch = listPage, "", ""
	var all *metav1.PartialObjectMetadataList
	for size := int64(0); ; opts.Continue = all.Continue {
		bounded, a := allow(ctx, maxAnswer)
		page, err := resource.List(bounded, opts)
		if err != nil {
			return nil, bare(err)
		}
		if size += weight(a, len(page.Items)); size > maxList {
			return nil, &TooLargeError{Request: "list " + r.Kind, Limit: maxList}
		}
		if all != nil {
			page.Items = append(all.Items, page.Items...)
		}
		if all = page; all.Continue == "" {
			return all, nil
		}
	}
}

// weight is what counts of a list of so many objects. A page without any counts too, so that there is no end of no list.
func weight(a *allowance, objects int) int64 { return a.read.Load() + int64(1+objects)*perObject }

// WatchMetadata watches objects of the reference's kind in all namespaces. In another cluster than the applier's own, it ends
// with an error event when an event, or the list that it may begin with, is too large.
func (c *Client) WatchMetadata(ctx context.Context, r Ref, opts metav1.ListOptions) (watch.Interface, error) {
	m, err := c.cluster.Mapping(r.GVK())
	if err != nil {
		return nil, err
	}
	bounded, a := allow(ctx, maxAnswer)
	w, err := c.watches.Resource(m.Resource).Watch(bounded, opts)
	if err != nil || c.cluster.trusted {
		return w, bare(err)
	}
	b := &boundedWatch{Interface: w, allowance: a, kind: r.Kind, events: make(chan watch.Event), stopped: make(chan struct{})}
	b.listing = opts.SendInitialEvents != nil && *opts.SendInitialEvents
	go b.run()
	return b, nil
}

// boundedWatch renews its answer's allowance at each event.
type boundedWatch struct {
	watch.Interface
	*allowance
	kind    string
	listing bool // until the list is over that the watch begins with
	objects int  // of the list so far
	events  chan watch.Event
	once    sync.Once
	stopped chan struct{}
}

// ResultChan implements watch.Interface.
func (b *boundedWatch) ResultChan() <-chan watch.Event { return b.events }

// Stop implements watch.Interface.
func (b *boundedWatch) Stop() {
	b.once.Do(func() { close(b.stopped) })
	b.Interface.Stop()
}

// run ends with the watch.
func (b *boundedWatch) run() {
	defer close(b.events)
	defer b.Interface.Stop()
	for e := range b.Interface.ResultChan() {
		e = b.judge(e)
		select {
		case b.events <- e:
		case <-b.stopped:
			return
		}
		if e.Type == watch.Error {
			return
		}
	}
}

// judge returns an event, or what is wrong with the list that it is of.
func (b *boundedWatch) judge(e watch.Event) watch.Event {
	b.used.Store(0)
	if m, ok := e.Object.(*metav1.PartialObjectMetadata); ok && e.Type == watch.Bookmark && m.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
		b.listing = false
	}
	if b.objects++; !b.listing || weight(b.allowance, b.objects) <= maxList {
		return e
	}
	large := apierrors.NewInternalError(&TooLargeError{Request: "list " + b.kind, Limit: maxList})
	return watch.Event{Type: watch.Error, Object: &large.ErrStatus}
}
