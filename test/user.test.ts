import './user-log.cases.js'
import './user-publisher.cases.js'
