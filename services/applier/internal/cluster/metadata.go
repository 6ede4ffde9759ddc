package cluster

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
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
	ctx, a := c.cluster.allow(ctx, maxObject)
	defer a.end()
	o, err := resource.Get(ctx, r.Name, metav1.GetOptions{})
	return o, bare(err)
}

// ListMetadata lists objects of the reference's kind in all namespaces: it calls take with each, which is not kept, and
// returns what the list as a whole says. One of another cluster than the applier's own is read in pages, and its error is
// a *TooLargeError when it is.
func (c *Client) ListMetadata(ctx context.Context, r Ref, opts metav1.ListOptions, take func(*metav1.PartialObjectMetadata)) (metav1.ListMeta, error) {
	m, err := c.cluster.Mapping(r.GVK())
	if err != nil {
		return metav1.ListMeta{}, err
	}
	resource := c.metadata.Resource(m.Resource)
	if c.cluster.trusted {
		list, err := resource.List(ctx, opts)
		if err != nil {
			return metav1.ListMeta{}, err
		}
		return takeAll(list, take), nil
	}
	// With a version, as of a cache, all would come in one page.
	opts.Limit, opts.ResourceVersion, opts.ResourceVersionMatch = listPage, "", ""
	for size := int64(0); ; {
		page, weight, err := c.metadataPage(ctx, resource, opts, take)
		if err != nil {
			return metav1.ListMeta{}, bare(err)
		}
		if size += weight; size > maxList {
			return metav1.ListMeta{}, &TooLargeError{Request: "list " + r.Kind, Limit: maxList}
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			return page, nil
		}
	}
}

// metadataPage reads one answer of a list, and says what it counts.
func (c *Client) metadataPage(ctx context.Context, resource metadata.ResourceInterface, opts metav1.ListOptions, take func(*metav1.PartialObjectMetadata)) (metav1.ListMeta, int64, error) {
	ctx, a := c.cluster.allow(ctx, maxAnswer)
	defer a.end()
	page, err := resource.List(ctx, opts)
	if err != nil {
		return metav1.ListMeta{}, 0, err
	}
	return takeAll(page, take), weight(a, len(page.Items)), nil
}

func takeAll(list *metav1.PartialObjectMetadataList, take func(*metav1.PartialObjectMetadata)) metav1.ListMeta {
	for n := range list.Items {
		take(&list.Items[n])
	}
	return list.ListMeta
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
	if c.cluster.trusted {
		return c.watches.Resource(m.Resource).Watch(ctx, opts)
	}
	ctx, cancel := context.WithCancel(ctx)
	ctx, a := c.cluster.allow(ctx, maxObject)
	a.late = cancel
	w, err := c.watches.Resource(m.Resource).Watch(ctx, opts)
	if err != nil {
		cancel()
		a.end()
		return nil, bare(err)
	}
	b := &boundedWatch{
		Interface: w, allowance: a, kind: r.Kind, pace: c.cluster.pace, cancel: cancel,
		listing: opts.SendInitialEvents != nil && *opts.SendInitialEvents,
		events:  make(chan watch.Event), stopped: make(chan struct{}),
	}
	go b.run()
	return b, nil
}

// boundedWatch renews its answer's allowance at each event.
type boundedWatch struct {
	watch.Interface
	*allowance
	kind    string
	pace    *rate.Limiter // of events, of all watches of the cluster
	cancel  context.CancelFunc
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
	defer b.end()
	defer b.cancel()
	defer b.Interface.Stop()
	for e := range b.Interface.ResultChan() {
		if !b.listing && !b.turn() {
			return
		}
		e = b.judge(e)
		select {
		case b.events <- e:
		case <-b.stopped:
			return
		}
		if e.Type == watch.Error {
			return
		}
		b.leave()
	}
}

// turn waits until another event may be read. It returns false when the watch is stopped before.
func (b *boundedWatch) turn() bool {
	r := b.pace.Reserve()
	wait := time.NewTimer(r.Delay())
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-b.stopped:
		r.Cancel()
		return false
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
