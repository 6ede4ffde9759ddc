package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// ErrTooLarge says that a list has more bytes than its reader takes.
var ErrTooLarge = errors.New("the list is too large")

// listPage is how many objects an answer has. What it has in bytes is bounded as it is read.
const listPage = 250

// List returns the objects of the reference's kind, in its namespace or, when it has none, in all. It reads no more than
// limit bytes, and returns ErrTooLarge when there are more.
func (c *Client) List(ctx context.Context, r Ref, limit int) (*unstructured.UnstructuredList, error) {
	m, err := c.cluster.Mapping(r.GVK())
	if err != nil {
		return nil, err
	}
	if outside(r) != "" {
		return nil, absent(m, r)
	}
	path := []string{"/apis", m.Resource.Group, m.Resource.Version}
	if m.Resource.Group == "" {
		path = []string{"/api", m.Resource.Version}
	}
	if r.Namespace != "" && m.Scope.Name() == meta.RESTScopeNameNamespace {
		path = append(path, "namespaces", r.Namespace)
	}
	path = append(path, m.Resource.Resource)
	var list *unstructured.UnstructuredList
	for next := ""; ; next = list.GetContinue() {
		page, size, err := c.page(ctx, path, next, limit)
		if err != nil {
			return nil, err
		}
		limit -= size
		if list != nil {
			page.Items = append(list.Items, page.Items...)
		}
		if list = page; list.GetContinue() == "" {
			return list, nil
		}
	}
}

// page reads one answer of a list, and says how many bytes it has.
func (c *Client) page(ctx context.Context, path []string, next string, limit int) (*unstructured.UnstructuredList, int, error) {
	if err := c.acquire(ctx); err != nil {
		return nil, 0, err
	}
	defer c.release()
	ctx, a := c.cluster.allow(ctx, maxAnswer)
	defer a.end()
	req := c.rest.Get().AbsPath(path...).Param("limit", strconv.Itoa(listPage))
	if next != "" {
		req.Param("continue", next)
	}
	answer, err := req.Stream(ctx)
	if err != nil {
		return nil, 0, err
	}
	body, err := io.ReadAll(io.LimitReader(answer, int64(limit)+1))
	if err = errors.Join(err, answer.Close()); err != nil {
		return nil, 0, fmt.Errorf("read answer: %w", err)
	}
	if len(body) > limit {
		return nil, 0, ErrTooLarge
	}
	list := &unstructured.UnstructuredList{}
	if err := list.UnmarshalJSON(body); err != nil {
		return nil, 0, fmt.Errorf("decode answer: %w", err)
	}
	return list, len(body), nil
}
