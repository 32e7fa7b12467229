;; expect: malformed
;; A component that is no command.
(component)
