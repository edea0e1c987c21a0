import t from 'tap'
import { runPersistenceSuite } from './persistence-suite.ts'

runPersistenceSuite(t)
