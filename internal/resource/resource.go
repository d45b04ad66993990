// Package resource keeps what outlives a configuration: bound sockets, pools of targets, waiting rooms. A reload names what
// it needs, with its settings; what is there already with equal settings is used again, state and all, what is missing is
// made, and what is no longer named is retired. Nothing is retired before everything that is new has been made.
//
//	change := set.Change()
//	defer change.Abort()
//	pool, err := resource.Use(change, "relay messages", options, func() (*Pool, resource.Retire, error) { ... })
//	...
//	change.Commit()
//
// A Set is used by one change at a time.
package resource

import "reflect"

// Retire ends what a Set held. Replaced tells that the same name is in use with other settings; otherwise the name is gone.
// It must not block: what takes time goes on in the background.
type Retire func(replaced bool)

// Set holds resources by name. The zero value is empty.
type Set struct{ held map[string]*entry }

type entry struct {
	settings any
	value    any
	retire   Retire
}

// Change is the step from what a Set holds to what it shall hold.
type Change struct {
	set  *Set
	next map[string]*entry
	made []*entry
	done bool
}

// Change begins a change.
func (s *Set) Change() *Change { return &Change{set: s, next: map[string]*entry{}} }

// Use names a resource. If the set holds one of that name with equal settings (reflect.DeepEqual), that is it; otherwise make
// makes one. An error leaves the change as it was.
func Use[T any](c *Change, name string, settings any, make func() (T, Retire, error)) (T, error) {
	for _, entries := range []map[string]*entry{c.next, c.set.held} {
		if e := entries[name]; e != nil && reflect.DeepEqual(e.settings, settings) {
			c.next[name] = e
			return e.value.(T), nil
		}
	}
	value, retire, err := make()
	if err != nil {
		return value, err
	}
	e := &entry{settings, value, retire}
	c.next[name] = e
	c.made = append(c.made, e)
	return value, nil
}

// Commit makes the change: the set holds what was named, all else is retired.
func (c *Change) Commit() {
	before := c.set.held
	c.set.held, c.done = c.next, true
	for name, e := range before {
		if now := c.next[name]; now != e {
			e.retire(now != nil)
		}
	}
}

// Abort retires what was made for the change; the set holds what it held. After Commit it does nothing.
func (c *Change) Abort() {
	if c.done {
		return
	}
	c.done = true
	for i := len(c.made) - 1; i >= 0; i-- {
		c.made[i].retire(false)
	}
}
