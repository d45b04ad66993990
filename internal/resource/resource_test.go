package resource

import (
	"errors"
	"slices"
	"testing"
)

// thing is a resource that writes down what happens to it.
type thing struct{ name string }

type story struct {
	events []string
	set    Set
}

// change names things as name=settings pairs and returns them.
func (s *story) use(t *testing.T, c *Change, name, settings string) *thing {
	t.Helper()
	v, err := Use(c, name, settings, func() (*thing, Retire, error) {
		s.events = append(s.events, "make "+name+settings)
		return &thing{name + settings}, func(replaced bool) {
			event := "remove "
			if replaced {
				event = "replace "
			}
			s.events = append(s.events, event+name+settings)
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (s *story) want(t *testing.T, events ...string) {
	t.Helper()
	slices.Sort(s.events)
	slices.Sort(events)
	if !slices.Equal(s.events, events) {
		t.Errorf("happened: %v, want %v", s.events, events)
	}
	s.events = nil
}

func TestReloadKeepsWhatIsEqualAndRetiresTheRest(t *testing.T) {
	var s story
	c := s.set.Change()
	a, b := s.use(t, c, "a", "1"), s.use(t, c, "b", "1")
	s.use(t, c, "c", "1")
	c.Commit()
	c.Abort()
	s.want(t, "make a1", "make b1", "make c1")

	c = s.set.Change()
	if s.use(t, c, "a", "1") != a {
		t.Error("an equal resource was made again")
	}
	if s.use(t, c, "b", "2") == b {
		t.Error("a changed resource was kept")
	}
	s.use(t, c, "d", "1")
	s.want(t, "make b2", "make d1")
	c.Commit()
	s.want(t, "replace b1", "remove c1")
}

func TestFailedReloadChangesNothing(t *testing.T) {
	var s story
	c := s.set.Change()
	a := s.use(t, c, "a", "1")
	c.Commit()
	s.want(t, "make a1")

	broken := errors.New("broken")
	c = s.set.Change()
	s.use(t, c, "a", "2")
	s.use(t, c, "b", "1")
	if _, err := Use(c, "x", "1", func() (*thing, Retire, error) { return nil, nil, broken }); !errors.Is(err, broken) {
		t.Errorf("the error was %v", err)
	}
	c.Abort()
	s.want(t, "make a2", "make b1", "remove a2", "remove b1")

	c = s.set.Change()
	if s.use(t, c, "a", "1") != a {
		t.Error("the old resource is gone after a failed change")
	}
	c.Commit()
	s.want(t)
}

func TestNamedTwiceInOneChangeIsMadeOnce(t *testing.T) {
	var s story
	c := s.set.Change()
	first := s.use(t, c, "a", "1")
	if second := s.use(t, c, "a", "1"); second != first {
		t.Error("it was made twice")
	}
	c.Commit()
	s.want(t, "make a1")
}
