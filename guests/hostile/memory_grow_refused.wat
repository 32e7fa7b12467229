;; expect: limit-fuel limit-host-work limit-memory
;; Asks for four gigabytes for ever, and is refused each time.
(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $again (drop (memory.grow (i32.const 65535))) (br $again))))
