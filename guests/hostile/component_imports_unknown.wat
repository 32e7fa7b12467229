;; expect: malformed
;; A component that imports an interface of its own.
(component
  (import "evil:host/shell" (instance (export "exec" (func (param "command" string)))))
)
